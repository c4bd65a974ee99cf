//! Rules of automation on a desk.
