//! The flumen agent.
