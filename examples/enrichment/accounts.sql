-- Invented accounts of a shop that sells laboratory supplies.
CREATE TABLE accounts (id TEXT PRIMARY KEY, name TEXT NOT NULL, country TEXT NOT NULL, since INTEGER NOT NULL);
CREATE TABLE orders (account TEXT NOT NULL REFERENCES accounts (id), year INTEGER NOT NULL, euro INTEGER NOT NULL);
INSERT INTO accounts VALUES
  ('A-101', 'Brightwater Labs', 'NL', 2016), ('A-102', 'Fjord Assays', 'NO', 2021), ('A-103', 'Quarry Street Clinic', 'IE', 2019),
  ('A-104', 'Nordlicht Optik', 'DE', 2023), ('A-105', 'Casa Verde Foods', 'ES', 2018);
INSERT INTO orders VALUES
  ('A-101', 2023, 41200), ('A-101', 2024, 39800), ('A-102', 2024, 2100), ('A-103', 2023, 8800), ('A-103', 2024, 300),
  ('A-104', 2024, 15750), ('A-105', 2022, 5000);
