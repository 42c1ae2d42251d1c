"""What was seen of one candidate beside production: sums that add up, rows worth a look, and a verdict."""
