"""What robustness depends on in training: rows, labels, luck, width, augmentation, and the network itself."""
