"""How far traffic is from what the model was made with: one measure per file, and what shows them."""
