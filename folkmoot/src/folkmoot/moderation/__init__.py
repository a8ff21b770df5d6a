"""What administrators do: remove posts, block accounts, look at what people report. All of it is logged."""
