CREATE SCHEMA app;
CREATE SCHEMA stats;
CREATE TABLE app.old_people (id integer);
