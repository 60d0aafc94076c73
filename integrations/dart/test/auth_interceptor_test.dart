/// A request ends, whatever goes wrong, and is sent again only where nothing was done for it.
library;

import 'dart:convert';
import 'dart:typed_data';

import 'package:codelab_auth/codelab_auth.dart';
import 'package:dio/dio.dart';
import 'package:test/test.dart';

const good = Tokens(accessToken: 'a1', refreshToken: 'r1', expiresAt: 800, lifetime: 900, scope: '');
const refused = 'Bearer realm="codelab", error="invalid_token"';

void main() {
  test('a storage that throws fails the request', () async {
    final service = Service([]);
    await expectLater(
      service.dio(BrokenStorage()).get<Object?>('/me'),
      throwsA(isA<DioException>().having((fault) => fault.error, 'error', isA<FormatException>())),
    );
    expect(service.tokens, isEmpty);
  });

  test('a refused token is replaced once, whatever other challenges there are', () async {
    final service = Service([
      (401, ['Basic realm="x"', refused]),
      (200, const []),
    ]);
    await service.dio(MemoryStorage(good)).get<Object?>('/me');
    expect(service.tokens, ['Bearer a1', 'Bearer a2']);
  });

  test('a second refusal is final', () async {
    final service = Service([
      (401, const [refused]),
      (401, const [refused]),
    ]);
    await expectLater(service.dio(MemoryStorage(good)).get<Object?>('/me'), throwsA(isA<DioException>()));
    expect(service.tokens, ['Bearer a1', 'Bearer a2']);
  });

  test('a form with a file is sent again as a whole', () async {
    final service = Service([
      (401, const [refused]),
      (200, const []),
    ]);
    final form = FormData.fromMap({'file': MultipartFile.fromString('text', filename: 'a.txt')});
    await service.dio(MemoryStorage(good)).post<Object?>('/files', data: form);
    expect(service.lengths.toSet(), hasLength(1));
    expect(service.tokens, hasLength(2));
  });
}

/// A service that answers in turn by status and challenges, and an authorization server that always has a successor.
class Service implements HttpClientAdapter, Transport {
  Service(this.answers);

  final List<(int, List<String>)> answers;
  final tokens = <Object?>[];
  final lengths = <int>[];

  Dio dio(TokenStorage storage) {
    final dio = Dio(BaseOptions(baseUrl: 'https://api.example.org'))..httpClientAdapter = this;
    final client = AuthClient(
      'https://auth.example.org',
      clientId: 'codelab-flutter-app',
      storage: storage,
      transport: this,
      clock: () => 0,
    );
    dio.interceptors.add(AuthInterceptor(client, dio));
    return dio;
  }

  @override
  Future<Answer> post(Uri url, {required Map<String, String> headers, required Map<String, String> form}) async =>
      const Answer(200, {'access_token': 'a2', 'refresh_token': 'r2', 'expires_in': 900});

  @override
  Future<ResponseBody> fetch(RequestOptions options, Stream<Uint8List>? body, Future<void>? cancelFuture) async {
    tokens.add(options.headers['authorization']);
    lengths.add(body == null ? 0 : await body.fold(0, (sum, part) => sum + part.length));
    final (status, challenges) = answers.removeAt(0);
    return ResponseBody.fromBytes(utf8.encode('{}'), status, headers: {'www-authenticate': challenges});
  }

  @override
  void close({bool force = false}) {}
}

class BrokenStorage extends MemoryStorage {
  @override
  Future<Tokens?> load() async => throw const FormatException('these are no tokens');
}
