"""Where runs execute: the engines, one module and one row of `registry` each."""
