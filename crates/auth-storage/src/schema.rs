//! The tables as Diesel sees them: one description for every database, in types of our own where databases differ.

diesel::table! {
    use diesel::sql_types::{Bool, Nullable, Text};
    use crate::types::{DbTime, DbUuid};

    users (id) {
        id -> DbUuid,
        username -> Text,
        email -> Text,
        email_key -> Text,
        password_hash -> Text,
        is_active -> Bool,
        is_verified -> Bool,
        created_at -> DbTime,
        updated_at -> DbTime,
        last_login_at -> Nullable<DbTime>,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Text};
    use crate::types::{DbTime, DbUuid};

    oauth_clients (id) {
        id -> DbUuid,
        client_id -> Text,
        client_secret_hash -> Nullable<Binary>,
        name -> Text,
        description -> Nullable<Text>,
        is_confidential -> Bool,
        allowed_scopes -> Text,
        allowed_grant_types -> Text,
        access_token_lifetime -> BigInt,
        refresh_token_lifetime -> BigInt,
        wire_profile -> Text,
        refresh_retry_window -> BigInt,
        refresh_chain_lifetime -> Nullable<BigInt>,
        access_token_type -> Text,
        access_token_has_sid -> Bool,
        is_active -> Bool,
        created_at -> DbTime,
        updated_at -> DbTime,
    }
}

diesel::table! {
    use diesel::sql_types::{Binary, Nullable, Text};
    use crate::types::{DbTime, DbUuid};

    sessions (id) {
        id -> DbUuid,
        user_id -> DbUuid,
        client_id -> Text,
        scope -> Text,
        amr -> Text,
        head_token_id -> DbUuid,
        previous_token_id -> Nullable<DbUuid>,
        head_jti_hash -> Binary,
        previous_jti_hash -> Nullable<Binary>,
        head_issued_at -> DbTime,
        expires_at -> DbTime,
        revoked_at -> Nullable<DbTime>,
        revoked_reason -> Nullable<Text>,
        created_at -> DbTime,
        last_used_at -> DbTime,
    }
}

diesel::table! {
    use diesel::sql_types::{Binary, Nullable};
    use crate::types::{DbTime, DbUuid};

    refresh_tokens (id) {
        id -> DbUuid,
        session_id -> DbUuid,
        parent_id -> Nullable<DbUuid>,
        jti_hash -> Binary,
        issued_at -> DbTime,
        expires_at -> DbTime,
    }
}

diesel::table! {
    use diesel::sql_types::{Bool, Nullable, Text};
    use crate::types::{DbJson, DbTime, DbUuid};

    audit_logs (id) {
        id -> DbUuid,
        user_id -> Nullable<DbUuid>,
        client_id -> Nullable<Text>,
        event_type -> Text,
        event_data -> DbJson,
        ip_address -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        correlation_id -> Text,
        success -> Bool,
        error_message -> Nullable<Text>,
        created_at -> DbTime,
    }
}

diesel::table! {
    use diesel::sql_types::Binary;
    use crate::types::DbTime;

    denied_tokens (jti_hash) {
        jti_hash -> Binary,
        expires_at -> DbTime,
    }
}

diesel::table! {
    use diesel::sql_types::Text;
    use crate::types::{DbTime, DbUuid};

    leases (name) {
        name -> Text,
        holder -> DbUuid,
        until -> DbTime,
    }
}

diesel::table! {
    use diesel::sql_types::Binary;
    use crate::types::DbUuid;

    legacy_tokens (jti_hash) {
        jti_hash -> Binary,
        session_id -> DbUuid,
    }
}

diesel::joinable!(sessions -> users (user_id));
diesel::allow_tables_to_appear_in_same_query!(users, sessions, oauth_clients, denied_tokens, legacy_tokens);
