"""Whether a changed text is still honest: it means the same, reads as well, and is right grammar."""
