"""The report: tables, plots and one page, made from the scores and records of the other stages."""
