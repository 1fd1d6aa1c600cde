"""Floor 0: from a file to a log-mel filterbank. Knows no data set and no model."""
