import 'dart:convert';
import 'dart:math';

import 'auth_error.dart';
import 'lock.dart';
import 'tokens.dart';
import 'transport.dart';

/// One session at one server. `integrations/contracts` has what it says and does.
///
/// A refresh token is good for one use; presented a second time it ends the whole session, since somebody may have a
/// copy. So it is never sent again unless it is sure that the server has not taken it, or that the server allows it.
class AuthClient {
  /// [baseUrl] is the server's, such as `https://auth.example.org`; a prefix such as `/auth` is kept.
  ///
  /// Windows and isolates that share [storage] have to share [lock] as well.
  AuthClient(
    String baseUrl, {
    required this.clientId,
    this.clientSecret,
    TokenStorage? storage,
    Lock? lock,
    Transport? transport,
    this.refreshBefore = const Duration(minutes: 5),
    this.retryWindow = Duration.zero,
    num Function()? clock,
  })  : _base = baseUrl.replaceFirst(RegExp(r'/+$'), ''),
        _storage = storage ?? MemoryStorage(),
        _lock = lock ?? MemoryLock(),
        _transport = transport ?? DioTransport(),
        _clock = clock ?? _now;

  final String clientId;

  /// Of a confidential client; never in an application that users install.
  final String? clientSecret;

  /// How long before its end an access token is replaced; at half of its lifetime where that comes later.
  final Duration refreshBefore;

  /// The `refresh_retry_window` that the server has for this client.
  final Duration retryWindow;

  final String _base;
  final TokenStorage _storage;
  final Lock _lock;
  final Transport _transport;

  /// The time in seconds since 1970.
  final num Function() _clock;

  /// A refresh token of which it is not known whether the server has taken it.
  String? _doubtful;

  /// The refresh that is under way: whoever needs one waits for it, and shares what comes of it.
  Future<String>? _refreshing;

  /// No refresh is tried before, since the last one failed.
  num _notBefore = double.negativeInfinity;

  /// Tokens that the storage would not take, and the refresh token there that they replace: it is consumed all the same.
  ({Tokens tokens, String replaced})? _unsaved;

  /// How often a refresh is repeated within the client's retry window.
  static const _retries = 2;

  /// Seconds after a refresh that failed in which none is tried, where the server names no time: while the access token is
  /// still good, and when it is not.
  static const _pauseWhileGood = 30;
  static const _pause = 1;
  static const _unreachable = 'the server can not be reached';

  static num _now() => DateTime.now().millisecondsSinceEpoch / 1000;

  /// Signs a user in by the password grant (RFC 6749 section 4.3). It is never repeated by itself.
  ///
  /// Throws [WrongCredentials], [TooManyAttempts], [Unavailable] or [RequestRefused].
  Future<void> signIn(String username, String password, {String? scope}) => _lock.exclusively(() async {
        final Answer answer;
        try {
          answer = await _post('/oauth/token', {
            'grant_type': 'password',
            'username': username,
            'password': password,
            if (scope != null) 'scope': scope,
          });
        } on NoAnswer {
          throw const Unavailable(_unreachable);
        }
        final tokens = _tokensOf(answer);
        if (tokens == null) throw _failedSignIn(answer);
        _unsaved = null;
        _notBefore = double.negativeInfinity;
        await _storage.save(tokens);
        _doubtful = null;
      });

  /// An access token that can be used now; of any number of callers one refreshes, if that is due.
  ///
  /// [refused] is one that a service has just refused: it is replaced although it has not expired.
  ///
  /// Throws [SignedOut], [Unavailable] or [RequestRefused].
  Future<String> accessToken({String? refused}) async {
    final tokens = await _load();
    if (tokens != null && _unsaved == null && !_isDue(tokens, refused)) return tokens.accessToken;
    try {
      return await (_refreshing ??= _refreshIfDue(refused).whenComplete(() {
        _refreshing = null;
      }));
    } on AuthError {
      rethrow;
    } on Exception {
      // The storage or the lock is out of order.
      if (tokens != null && _isGood(tokens, refused)) return tokens.accessToken;
      rethrow;
    }
  }

  /// Ends the session: the refresh token is revoked (RFC 7009) and the tokens are forgotten, whatever happens.
  ///
  /// Throws [Unavailable] where the server could not be told; the session lives on there until it expires.
  Future<void> signOut() async {
    final tokens = await _lock.exclusively(() async {
      final current = await _load();
      _unsaved = null;
      await _storage.save(null);
      _doubtful = null;
      return current;
    });
    if (tokens == null) return;
    final Answer answer;
    try {
      answer = await _post('/oauth/revoke', {'token': tokens.refreshToken, 'token_type_hint': 'refresh_token'});
    } on NoAnswer {
      throw const Unavailable(_unreachable);
    }
    if (answer.status != 200) throw Unavailable('the server did not revoke the session', answer.retryAfter);
  }

  Future<String> _refreshIfDue(String? refused) => _lock.exclusively(() async {
        // Somebody else may have refreshed meanwhile.
        final tokens = await _load();
        if (tokens == null) throw const SignedOut('nobody is signed in');
        final unsaved = _unsaved;
        if (unsaved != null) await _keep(unsaved.tokens, replaced: unsaved.replaced);
        if (!_isDue(tokens, refused)) return tokens.accessToken;
        final left = _notBefore - _clock();
        if (left > 0) throw Unavailable('the last refresh has failed', Duration(seconds: left.ceil()));
        return _refresh(tokens, refused);
      });

  /// The tokens of the storage, unless they are those that it was to have replaced.
  Future<Tokens?> _load() async {
    final unsaved = _unsaved;
    if (unsaved == null) return _storage.load();
    try {
      final stored = await _storage.load();
      if (stored?.refreshToken == unsaved.replaced) return unsaved.tokens;
      // Somebody else has signed in or out.
      _unsaved = null;
      return stored;
    } on Exception {
      return unsaved.tokens;
    }
  }

  /// Stores tokens; where the storage fails, they are kept here until it takes them.
  Future<void> _keep(Tokens tokens, {required String replaced}) async {
    _unsaved = (tokens: tokens, replaced: replaced);
    try {
      await _storage.save(tokens);
      _unsaved = null;
    } on Exception {
      // Tried again the next time.
    }
  }

  bool _isGood(Tokens tokens, String? refused) => tokens.accessToken != refused && tokens.expiresAt > _clock();

  bool _isDue(Tokens tokens, String? refused) {
    if (!_isGood(tokens, refused)) return true;
    if (tokens.refreshToken == _doubtful || _clock() < _notBefore) return false;
    return tokens.expiresAt - _clock() <= min(refreshBefore.inSeconds, tokens.lifetime / 2);
  }

  Future<String> _refresh(Tokens tokens, String? refused) async {
    final Answer answer;
    try {
      answer = await _present(tokens.refreshToken);
    } on NoAnswer {
      return _lastResort(tokens, refused, const Unavailable(_unreachable));
    }
    final successor = _tokensOf(answer);
    if (successor != null) {
      // What is in the storage is followed by several where it has failed before.
      await _keep(successor, replaced: _unsaved?.replaced ?? tokens.refreshToken);
      return successor.accessToken;
    }
    if (answer.isInvalidGrant) {
      _unsaved = null;
      await _storage.save(null);
      throw const SignedOut('the session has ended');
    }
    final isFinal = answer.status >= 400 && answer.status < 500 && answer.status != 429 && answer.error.isNotEmpty;
    return _lastResort(
      tokens,
      refused,
      isFinal ? RequestRefused(answer.error) : Unavailable('the server does not refresh now', answer.retryAfter),
    );
  }

  /// A refresh that fails fails nobody whose access token is still good, and is not tried again at once.
  String _lastResort(Tokens tokens, String? refused, AuthError fault) {
    final isGood = _isGood(tokens, refused);
    final named = switch (fault) { Unavailable(:final retryAfter?) => retryAfter.inSeconds, _ => 0 };
    _notBefore = _clock() + max(named, isGood ? _pauseWhileGood : _pause);
    if (isGood) return tokens.accessToken;
    throw fault;
  }

  /// Presents a refresh token, a second time only where that is allowed.
  Future<Answer> _present(String refreshToken) async {
    final begun = _clock();
    for (var left = retryWindow > Duration.zero ? _retries : 0;; left -= 1) {
      // Until something is known: a window that is closed in the middle knows nothing.
      _doubtful = refreshToken;
      Answer? answer;
      NoAnswer? lost;
      try {
        answer = await _post('/oauth/token', {'grant_type': 'refresh_token', 'refresh_token': refreshToken});
      } on NoAnswer catch (fault) {
        lost = fault;
      }
      // Of a 200 that holds no tokens it is not known whose it is, nor what became of ours.
      final isTold = answer != null && (_tokensOf(answer) != null || answer.isRefusal);
      if (isTold || lost != null && !lost.wasSent) _doubtful = null;
      final isOver = _doubtful == null || left == 0 || _clock() - begun >= retryWindow.inSeconds;
      if (isOver && answer != null) return answer;
      if (isOver) throw lost!;
    }
  }

  Tokens? _tokensOf(Answer answer) => switch ((answer.status, answer.body)) {
        (
          200,
          {
            'access_token': final String accessToken,
            'refresh_token': final String refreshToken,
            'expires_in': final num lifetime,
          }
        )
            when lifetime > 0 && lifetime.isFinite =>
          Tokens(
            accessToken: accessToken,
            refreshToken: refreshToken,
            expiresAt: _clock() + lifetime,
            lifetime: lifetime,
            scope: switch (answer.body['scope']) { final String scope => scope, _ => '' },
          ),
        _ => null,
      };

  Future<Answer> _post(String path, Map<String, String> form) {
    final secret = clientSecret;
    return _transport.post(
      Uri.parse('$_base$path'),
      headers: {
        'accept': 'application/json',
        if (secret != null) 'authorization': _basic(clientId, secret),
      },
      form: {...form, if (secret == null) 'client_id': clientId},
    );
  }

  /// HTTP Basic with both parts form-encoded first (RFC 6749 section 2.3.1).
  static String _basic(String id, String secret) {
    final pair = '${Uri.encodeQueryComponent(id)}:${Uri.encodeQueryComponent(secret)}';
    return 'Basic ${base64Encode(utf8.encode(pair))}';
  }

  static AuthError _failedSignIn(Answer answer) {
    if (answer.status == 429) return TooManyAttempts(answer.retryAfter);
    if (answer.isInvalidGrant) return const WrongCredentials();
    if (answer.status >= 400 && answer.status < 500 && answer.error.isNotEmpty) return RequestRefused(answer.error);
    return Unavailable('the server does not serve now', answer.retryAfter);
  }
}
