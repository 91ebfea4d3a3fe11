"""Speed, always as a ratio: the product and what it is measured against run interleaved in one go."""
