"""How far traffic is from what the model was made with: one measure per file, and the documents that show them."""
