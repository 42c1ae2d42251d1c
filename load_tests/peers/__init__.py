"""What the service is measured against, each as plain as its own documentation shows it."""
