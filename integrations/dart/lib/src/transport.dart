import 'dart:async';
import 'dart:convert';

import 'package:dio/dio.dart';

/// What came back.
class Answer {
  const Answer(this.status, this.body, [this.retryAfter]);

  /// Reads an answer; the body is empty where it is no JSON object, and so somebody else's.
  factory Answer.read(int status, String text, [String? retryAfter]) {
    Object? body;
    try {
      body = jsonDecode(text);
    } on FormatException {
      body = null;
    }
    final seconds = _seconds.hasMatch(retryAfter ?? '') ? int.parse(retryAfter!) : null;
    return Answer(
      status,
      body is Map<String, Object?> ? body : const {},
      seconds == null ? null : Duration(seconds: seconds),
    );
  }

  static final _seconds = RegExp(r'^[0-9]{1,9}$');

  final int status;
  final Map<String, Object?> body;
  final Duration? retryAfter;

  /// The `error` of RFC 6749 section 5.2; empty where there is none.
  String get error => switch (body['error']) { final String code => code, _ => '' };

  /// Whether the server itself has refused: by an error, or by saying that it did nothing.
  bool get isRefusal => switch (status) {
        503 => error == 'temporarily_unavailable',
        429 => true,
        _ => status >= 400 && status < 500 && error.isNotEmpty,
      };

  /// Whether the credentials or the refresh token are no good, by either wire profile.
  bool get isInvalidGrant => (status == 400 || status == 401) && error == 'invalid_grant';
}

/// There was no connection, or there was one and no answer came.
class NoAnswer implements Exception {
  const NoAnswer({required this.wasSent});

  /// Whether the request may have reached the server.
  final bool wasSent;
}

/// Sends forms. A fake one makes a client testable without a network.
abstract interface class Transport {
  /// Posts a form.
  ///
  /// Throws [NoAnswer].
  Future<Answer> post(Uri url, {required Map<String, String> headers, required Map<String, String> form});
}

/// Sends forms by a `Dio` of its own: one with an interceptor of ours would wait for itself.
class DioTransport implements Transport {
  /// A `Dio` that is given should have a `connectTimeout`; without one it is only known that [limit] has passed.
  DioTransport([Dio? dio]) : _dio = dio ?? Dio(BaseOptions(connectTimeout: _patience));

  /// How long a request may take in all, however slowly its answer drips.
  static const limit = Duration(seconds: 20);

  static const _patience = Duration(seconds: 10);

  /// A browser doesn't say whether a request that has failed was sent.
  static const _isBrowser = !bool.fromEnvironment('dart.library.io');

  final Dio _dio;

  @override
  Future<Answer> post(Uri url, {required Map<String, String> headers, required Map<String, String> form}) async {
    final cancel = CancelToken();
    final stop = Timer(limit, cancel.cancel);
    try {
      final answer = await _dio.postUri<String>(
        url,
        data: form,
        cancelToken: cancel,
        options: Options(
          headers: headers,
          contentType: Headers.formUrlEncodedContentType,
          responseType: ResponseType.plain,
          followRedirects: false,
          validateStatus: (_) => true,
          sendTimeout: _patience,
          receiveTimeout: _patience,
        ),
      );
      return Answer.read(answer.statusCode ?? 0, answer.data ?? '', answer.headers['retry-after']?.firstOrNull);
    } on DioException catch (fault) {
      final wasConnected = switch (fault.type) {
        DioExceptionType.connectionError || DioExceptionType.connectionTimeout => false,
        _ => true,
      };
      throw NoAnswer(wasSent: wasConnected || _isBrowser);
    } finally {
      stop.cancel();
    }
  }
}
