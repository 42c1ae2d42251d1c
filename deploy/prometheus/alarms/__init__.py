"""What people are told of: each alert beside the reason for its gates."""
