"""Floor 1: a small network at work in numpy alone, without the 200 MB and two seconds that importing torch takes.

`models.dass` is the same network in torch, which trains it; tests hold the two together.
"""
