"""What every room may use and that belongs to none of them."""
