import 'dart:convert';

/// A session: what is presented to services, and what it is renewed by.
class Tokens {
  const Tokens({
    required this.accessToken,
    required this.refreshToken,
    required this.expiresAt,
    required this.lifetime,
    required this.scope,
  });

  /// Reads what [toJson] has written.
  ///
  /// Throws a [FormatException] where it is something else.
  factory Tokens.fromJson(String text) => switch (jsonDecode(text)) {
        {
          'access_token': final String accessToken,
          'refresh_token': final String refreshToken,
          'expires_at': final num expiresAt,
          'lifetime': final num lifetime,
          'scope': final String scope,
        } =>
          Tokens(
            accessToken: accessToken,
            refreshToken: refreshToken,
            expiresAt: expiresAt,
            lifetime: lifetime,
            scope: scope,
          ),
        _ => throw const FormatException('these are no tokens'),
      };

  final String accessToken;
  final String refreshToken;

  /// When the access token expires, in seconds since 1970, by the clock of this machine.
  final num expiresAt;

  /// How many seconds the access token lives in all.
  final num lifetime;

  /// What may be done: names with spaces between them.
  final String scope;

  /// As a storage keeps it.
  String toJson() => jsonEncode({
        'access_token': accessToken,
        'refresh_token': refreshToken,
        'expires_at': expiresAt,
        'lifetime': lifetime,
        'scope': scope,
      });

  /// Holds no token: it may end up in a log.
  @override
  String toString() => 'Tokens(scope: $scope, expiresAt: $expiresAt)';
}

/// Keeps the tokens of one session, in the system's keyring as a rule: over `flutter_secure_storage` these are three
/// lines, `read`, `write` and `delete` of one entry that holds [Tokens.toJson].
abstract interface class TokenStorage {
  /// The tokens, or `null` where nobody is signed in.
  Future<Tokens?> load();

  /// Puts others in their place, for good when it completes; `null` forgets them.
  Future<void> save(Tokens? tokens);
}

/// Keeps tokens until the process ends.
class MemoryStorage implements TokenStorage {
  MemoryStorage([this._tokens]);

  Tokens? _tokens;

  @override
  Future<Tokens?> load() async => _tokens;

  @override
  Future<void> save(Tokens? tokens) async => _tokens = tokens;
}
