-- The same file again, by another process: full text search, window functions, vacuum.
CREATE VIRTUAL TABLE page USING fts4(body);
INSERT INTO page SELECT name || ' of ' || town || ' ' || group_concat(note, ' ') FROM customer JOIN item ON item.customer = customer.id GROUP BY customer.id;
SELECT count(*) FROM page WHERE page MATCH 'bern OR gent';
SELECT docid, snippet(page, '<', '>', '..', 0, 4) FROM page WHERE page MATCH '"customer" NEAR delft' ORDER BY docid LIMIT 3;
SELECT town, max(r) FROM (SELECT town, rank() OVER (PARTITION BY town ORDER BY price) AS r FROM customer JOIN item ON item.customer = customer.id) GROUP BY town;
SELECT sum(length(note)), avg(price) > 0, count(DISTINCT customer) FROM item;
DROP INDEX item_note;
VACUUM;
PRAGMA integrity_check;
SELECT json_group_array(json_object('id', id, 'town', town)) FROM (SELECT * FROM customer ORDER BY id LIMIT 3);
