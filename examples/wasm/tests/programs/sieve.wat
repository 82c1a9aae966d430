;; Counts primes below 2000 * n: byte stores with a stride.
(module
  (memory (export "memory") 2)
  (func (export "run") (param $n i32) (result f64)
    (local $limit i32) (local $i i32) (local $j i32) (local $count i32)
    (local.set $limit (i32.mul (local.get $n) (i32.const 2000)))
    (memory.fill (i32.const 0) (i32.const 1) (local.get $limit))
    (local.set $i (i32.const 2))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $limit)))
        (if (i32.load8_u (local.get $i))
          (then
            (local.set $count (i32.add (local.get $count) (i32.const 1)))
            (local.set $j (i32.shl (local.get $i) (i32.const 1)))
            (block $out
              (loop $strike
                (br_if $out (i32.ge_u (local.get $j) (local.get $limit)))
                (i32.store8 (local.get $j) (i32.const 0))
                (local.set $j (i32.add (local.get $j) (local.get $i)))
                (br $strike)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (f64.convert_i32_u (local.get $count))))
