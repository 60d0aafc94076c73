-- Run once, when the database's volume is new: a role that is no superuser, and its database.
\set password `cat /run/secrets/database-password`
CREATE ROLE auth LOGIN PASSWORD :'password';
CREATE DATABASE auth OWNER auth ENCODING 'UTF8' TEMPLATE template0;
