import 'package:dio/dio.dart';

import 'auth_client.dart';
import 'auth_error.dart';

/// Puts an access token on each request of a `Dio`: `dio.interceptors.add(AuthInterceptor(client, dio))`.
///
/// A request that is answered by 401 `invalid_token` is sent once more, with a new token: nothing was done for it. One
/// whose body is a stream is not, since it can't be read twice. Where there is no token to be had, the request fails with
/// the [AuthError], or the fault of the storage, as the exception's `error`.
class AuthInterceptor extends Interceptor {
  AuthInterceptor(this._client, this._dio);

  final AuthClient _client;
  final Dio _dio;

  static const _presented = 'codelab_auth.presented';
  static const _refused = 'codelab_auth.refused';

  @override
  Future<void> onRequest(RequestOptions options, RequestInterceptorHandler handler) async {
    try {
      final token = await _client.accessToken(refused: options.extra[_refused] as String?);
      options.extra[_presented] = token;
      options.headers['authorization'] = 'Bearer $token';
    } catch (fault, trace) {
      // Whatever it is: dio waits for ever for who throws here.
      handler.reject(DioException(requestOptions: options, error: fault, stackTrace: trace), true);
      return;
    }
    handler.next(options);
  }

  @override
  Future<void> onError(DioException err, ErrorInterceptorHandler handler) async {
    if (!_mayBeSentAgain(err)) {
      handler.next(err);
      return;
    }
    final Response<Object?> second;
    try {
      second = await _again(err.requestOptions);
    } on DioException catch (fault) {
      handler.next(fault);
      return;
    } catch (fault, trace) {
      handler.next(err.copyWith(error: fault, stackTrace: trace));
      return;
    }
    handler.resolve(second);
  }

  static bool _mayBeSentAgain(DioException err) {
    final options = err.requestOptions;
    // There may be several, of other schemes too.
    final challenges = err.response?.headers['www-authenticate'] ?? const <String>[];
    return err.response?.statusCode == 401 &&
        challenges.any((challenge) => challenge.contains('invalid_token')) &&
        options.extra[_presented] != null &&
        options.extra[_refused] == null &&
        options.data is! Stream;
  }

  Future<Response<Object?>> _again(RequestOptions options) {
    options.extra[_refused] = options.extra[_presented];
    final body = options.data;
    // A form with files is read by its first sending.
    if (body is FormData) options.data = body.clone();
    return _dio.fetch<Object?>(options);
  }
}
