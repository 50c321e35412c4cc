-- What the demo's people work on: the tables of policies/examples/orders, filled.
CREATE TABLE customers (
    id int PRIMARY KEY, name text NOT NULL, email text NOT NULL, phone text NOT NULL, ssn text NOT NULL
);
INSERT INTO customers
SELECT i, initcap(given) || ' ' || initcap(family), given || '.' || family || i || '@example.com',
       '+1 202 555 ' || lpad(i::text, 4, '0'), '900-' || lpad((i % 90)::text, 2, '0') || '-' || lpad((i * 37)::text, 4, '0')
FROM (
    SELECT i, (ARRAY['ada', 'grace', 'alan', 'edsger', 'barbara', 'donald', 'frances', 'ken'])[1 + i % 8] AS given,
           (ARRAY['byron', 'hopper', 'turner', 'dyk', 'liskov', 'knuth', 'allen'])[1 + i % 7] AS family
    FROM generate_series(1, 200) AS i
) AS people;

CREATE TABLE orders (
    id int PRIMARY KEY, customer int NOT NULL REFERENCES customers, placed date NOT NULL, total numeric(8, 2) NOT NULL
);
INSERT INTO orders
SELECT i, 1 + i % 200, date '2019-01-01' + i, 9.90 + i % 41 FROM generate_series(1, 1200) AS i;

CREATE TABLE payments (
    id int PRIMARY KEY, customer int NOT NULL REFERENCES customers, card_number text NOT NULL, state text NOT NULL
);
INSERT INTO payments
SELECT i, i, '4000 0000 0000 ' || lpad(i::text, 4, '0'), 'paid' FROM generate_series(1, 200) AS i;

-- The application's account may do anything to its tables: what people may do is not PostgreSQL's to tell.
CREATE ROLE app LOGIN;
CREATE ROLE lockgate LOGIN;
ALTER TABLE customers OWNER TO app;
ALTER TABLE orders OWNER TO app;
ALTER TABLE payments OWNER TO app;
