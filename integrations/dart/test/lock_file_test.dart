/// One at a time, whoever names the file; what was left behind stands in nobody's way.
library;

import 'dart:async';
import 'dart:io';

import 'package:codelab_auth/io.dart';
import 'package:test/test.dart';

const patience = Duration(milliseconds: 500);

void main() {
  late Directory folder;
  late File file;

  setUp(() {
    folder = Directory.systemTemp.createTempSync('codelab_auth');
    file = File('${folder.path}/session.lock');
  });
  tearDown(() => folder.deleteSync(recursive: true));

  LockFile lock() => LockFile(file.path, patience: patience);

  test('of many one is inside', () async {
    var inside = 0;
    await Future.wait([
      for (var i = 0; i < 10; i += 1)
        lock().exclusively(() async {
          inside += 1;
          expect(inside, 1);
          await Future<void>.delayed(const Duration(milliseconds: 5));
          inside -= 1;
        }),
    ]);
    expect(folder.listSync(), isEmpty);
  });

  test('what was left behind is taken away by one alone', () async {
    file.writeAsStringSync('somebody 7');
    var inside = 0;
    await Future.wait([
      for (var i = 0; i < 5; i += 1)
        lock().exclusively(() async {
          inside += 1;
          expect(inside, 1);
          await Future<void>.delayed(const Duration(milliseconds: 5));
          inside -= 1;
        }),
    ]);
    expect(folder.listSync(), isEmpty);
  });

  test('who works longer than the patience of others keeps the lock', () async {
    final first = lock();
    final entered = Completer<void>();
    var isDone = false;
    final long = first.exclusively(() async {
      entered.complete();
      await Future<void>.delayed(patience * 3);
      isDone = true;
    });
    await entered.future;
    await lock().exclusively(() async => expect(isDone, isTrue));
    await long;
  });

  test("another owner's lock is not released", () async {
    await lock().exclusively(() async => file.writeAsStringSync('somebody 7'));
    expect(file.readAsStringSync(), 'somebody 7');
  });

  test('work that fails releases the lock', () async {
    await expectLater(lock().exclusively(() async => throw StateError('as told')), throwsStateError);
    expect(file.existsSync(), isFalse);
  });
}
