-- What auditors read of accounts, without looking through what campaigns wrote. Few of all entries.
CREATE INDEX log_security ON log (position) WHERE aggregate_type IN ('user', 'session', 'api_key');
