/// What needs a file system, and so is not there in a browser: [LockFile] keeps windows, processes and isolates from
/// refreshing at the same time.
library;

export 'src/lock_file.dart' show LockFile;
