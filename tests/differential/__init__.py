"""Differential pairs: one scripted world, played by plain botocore and by a guarded one; no call may be worse off."""
