"""Changes that happen in nature: spatial ones, and corruptions."""
