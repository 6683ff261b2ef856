"""What the upstream holds of ours and how it is found again: records, originals, who is related to whom, seals."""
