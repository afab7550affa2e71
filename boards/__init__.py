"""Board definitions: what each board's clock, lines and memory allow."""
