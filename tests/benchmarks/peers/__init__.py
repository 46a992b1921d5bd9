"""The peers, each driven the way its own documentation recommends; what a peer has no word for is left out."""
