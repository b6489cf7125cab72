"""What counts are: their table, the folder that holds them, and readers of the formats that they come in."""
