"""Charts in characters: data to rows of text and style, without any screen library."""
