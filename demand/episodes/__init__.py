"""What runs of a calibrated scenario take from models of counts: a forecast as they go on, and days that are made up.

`scenarios.from_counts` names what it needs of this package, which stands above those that it is made of.
"""
