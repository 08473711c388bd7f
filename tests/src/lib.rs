//! What every end-to-end test shares: a throw-away PostgreSQL, an issuer, a broker.
