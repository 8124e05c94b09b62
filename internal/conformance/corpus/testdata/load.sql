-- A small order book: load, index, change, look up, on a database file with a rollback journal.
PRAGMA journal_mode=DELETE;
PRAGMA cache_size=200;
CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT, town TEXT);
CREATE TABLE item(id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customer(id), price REAL, note TEXT);
BEGIN;
INSERT INTO customer WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<1500)
  SELECT i, printf('customer %05d', i*7919%1500), substr('AachenBernColmarDelftEssenFuldaGent', 1+i%6*6, 5) FROM n;
INSERT INTO item WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<12000)
  SELECT i, 1+(i*31)%1500, (i*i%9973)/7.0, hex(i*2654435761%4294967296) FROM n;
COMMIT;
CREATE INDEX item_customer ON item(customer);
CREATE INDEX item_note ON item(note);
UPDATE item SET price = price*1.19 WHERE id%3 = 0;
BEGIN;
DELETE FROM item WHERE id%5 = 0;
ROLLBACK;
DELETE FROM item WHERE id%7 = 0;
SELECT town, count(*), round(sum(price), 2) FROM customer JOIN item ON item.customer = customer.id GROUP BY town ORDER BY 3 DESC;
SELECT count(*) FROM item a JOIN item b ON a.note = b.note;
SELECT name, round(total(price), 3) FROM customer LEFT JOIN item ON customer = customer.id GROUP BY customer.id ORDER BY 2 DESC, 1 LIMIT 5;
SELECT id, note FROM item WHERE note LIKE '%AB%' AND note GLOB '*9' ORDER BY note LIMIT 5;
PRAGMA integrity_check;
