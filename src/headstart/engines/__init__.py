"""Where runs execute: in this process, in worker processes side by side, or on a Ray cluster."""
