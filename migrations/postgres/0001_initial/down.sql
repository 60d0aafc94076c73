DROP VIEW refresh_tokens_classic;
DROP TABLE audit_logs;
DROP TABLE refresh_tokens;
DROP TABLE sessions;
DROP TABLE oauth_clients;
DROP TABLE users;
