//! The composition root: builds every port from validated settings, and nothing else does.
