//! A repair is cut short at each of its storage operations, and each of them fails in turn.
