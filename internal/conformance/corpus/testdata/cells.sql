-- Recursion in SQL: Life on a small torus, and the Mandelbrot set in letters.
WITH RECURSIVE
  xaxis(x) AS (VALUES(-2.0) UNION ALL SELECT x+0.05 FROM xaxis WHERE x<1.2),
  yaxis(y) AS (VALUES(-1.0) UNION ALL SELECT y+0.1 FROM yaxis WHERE y<1.0),
  m(iter, cx, cy, x, y) AS (
    SELECT 0, x, y, 0.0, 0.0 FROM xaxis, yaxis
    UNION ALL
    SELECT iter+1, cx, cy, x*x-y*y + cx, 2.0*x*y + cy FROM m WHERE (x*x + y*y) < 4.0 AND iter<60
  ),
  m2(iter, cx, cy) AS (SELECT max(iter), cx, cy FROM m GROUP BY cx, cy),
  a(t) AS (SELECT group_concat(substr(' .+*#', 1+min(iter/7,4), 1), '') FROM m2 GROUP BY cy)
SELECT group_concat(rtrim(t), x'0a') FROM a;
CREATE TABLE cell(x INTEGER, y INTEGER, PRIMARY KEY(x, y)) WITHOUT ROWID;
CREATE TABLE next(x INTEGER, y INTEGER, PRIMARY KEY(x, y)) WITHOUT ROWID;
INSERT INTO cell VALUES (1,0),(2,1),(0,2),(1,2),(2,2),(10,10),(11,10),(12,10),(11,11);
CREATE TABLE tick(n INTEGER PRIMARY KEY);
CREATE TRIGGER turn AFTER INSERT ON tick BEGIN
  DELETE FROM next;
  INSERT INTO next
    SELECT x, y FROM (
      SELECT (c.x+dx.d+24)%24 AS x, (c.y+dy.d+24)%24 AS y, count(*) AS n
      FROM cell c, (SELECT -1 AS d UNION SELECT 0 UNION SELECT 1) dx, (SELECT -1 AS d UNION SELECT 0 UNION SELECT 1) dy
      WHERE dx.d <> 0 OR dy.d <> 0 GROUP BY 1, 2)
    WHERE n = 3 OR (n = 2 AND EXISTS (SELECT 1 FROM cell WHERE cell.x = x AND cell.y = y));
  DELETE FROM cell;
  INSERT INTO cell SELECT x, y FROM next;
END;
INSERT INTO tick WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<48) SELECT i FROM n;
SELECT 'alive', count(*), sum(x*31+y) FROM cell;
