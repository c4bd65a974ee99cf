-- 0007_units: parts that stand in for others.

-- The part that was asked for, where another one is held in its place.
ALTER TABLE reservations ADD COLUMN instead_of text;
