"""Select a device and a precision, measure the machine and describe it."""
