import 'dart:async';

/// Lets one at a time do something.
abstract interface class Lock {
  /// Does [work] while everybody else who shares the lock waits.
  Future<T> exclusively<T>(Future<T> Function() work);
}

/// For one isolate alone.
class MemoryLock implements Lock {
  Future<void> _last = Future.value();

  @override
  Future<T> exclusively<T>(Future<T> Function() work) {
    final mine = Completer<void>();
    final before = _last;
    _last = mine.future;
    return before.then((_) => work()).whenComplete(mine.complete);
  }
}
