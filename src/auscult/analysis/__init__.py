"""Floor 4: results for people: tables, figures, CSV files and the report."""

RESEARCH_ONLY = "Research use only, not a medical device."
