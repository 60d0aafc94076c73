//! The older service's tables as Diesel sees them.

diesel::table! {
    use diesel::sql_types::{Bool, Nullable, Text};
    use crate::legacy::types::LegacyTime;

    users (id) {
        id -> Text,
        username -> Text,
        email -> Text,
        password_hash -> Text,
        is_active -> Bool,
        is_verified -> Bool,
        created_at -> LegacyTime,
        updated_at -> LegacyTime,
        last_login_at -> Nullable<LegacyTime>,
    }
}

diesel::table! {
    use diesel::sql_types::{Bool, Integer, Nullable, Text};
    use crate::legacy::types::LegacyTime;

    oauth_clients (id) {
        id -> Text,
        client_id -> Text,
        client_secret_hash -> Nullable<Text>,
        name -> Text,
        description -> Nullable<Text>,
        is_confidential -> Bool,
        allowed_scopes -> Text,
        allowed_grant_types -> Text,
        access_token_lifetime -> Integer,
        refresh_token_lifetime -> Integer,
        is_active -> Bool,
        created_at -> LegacyTime,
        updated_at -> LegacyTime,
    }
}

diesel::table! {
    use diesel::sql_types::{Bool, Nullable, Text};
    use crate::legacy::types::LegacyTime;

    refresh_tokens (id) {
        id -> Text,
        jti_hash -> Text,
        user_id -> Text,
        client_id -> Text,
        scope -> Text,
        expires_at -> LegacyTime,
        revoked -> Bool,
        revoked_at -> Nullable<LegacyTime>,
        parent_jti_hash -> Nullable<Text>,
        created_at -> LegacyTime,
    }
}

diesel::table! {
    use diesel::sql_types::{Bool, Nullable, Text};
    use crate::legacy::types::{LegacyJson, LegacyTime};

    audit_logs (id) {
        id -> Text,
        user_id -> Nullable<Text>,
        client_id -> Nullable<Text>,
        event_type -> Text,
        event_data -> Nullable<LegacyJson>,
        ip_address -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        success -> Bool,
        error_message -> Nullable<Text>,
        created_at -> LegacyTime,
    }
}
