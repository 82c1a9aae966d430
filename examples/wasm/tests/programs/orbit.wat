;; One function, one call, one long loop, whose state lies in memory as a naive compiler leaves it: two bodies in a plane.
(module
  (memory 1)
  (func (export "run") (param $n i32) (result f64)
    (local $i i32) (local $r f64)
    (f64.store (i32.const 0) (f64.const 1))
    (f64.store (i32.const 8) (f64.const 0))
    (f64.store (i32.const 16) (f64.const 0))
    (f64.store (i32.const 24) (f64.const 1))
    (local.set $n (i32.mul (local.get $n) (i32.const 5000)))
    (block $done
      (loop $step
        (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
        (local.set $r (f64.sqrt (f64.add
          (f64.mul (f64.load (i32.const 0)) (f64.load (i32.const 0)))
          (f64.mul (f64.load (i32.const 8)) (f64.load (i32.const 8))))))
        (local.set $r (f64.mul (f64.mul (local.get $r) (local.get $r)) (local.get $r)))
        (f64.store (i32.const 16) (f64.sub (f64.load (i32.const 16))
          (f64.mul (f64.const 0.001) (f64.div (f64.load (i32.const 0)) (local.get $r)))))
        (f64.store (i32.const 24) (f64.sub (f64.load (i32.const 24))
          (f64.mul (f64.const 0.001) (f64.div (f64.load (i32.const 8)) (local.get $r)))))
        (f64.store (i32.const 0) (f64.add (f64.load (i32.const 0)) (f64.mul (f64.const 0.001) (f64.load (i32.const 16)))))
        (f64.store (i32.const 8) (f64.add (f64.load (i32.const 8)) (f64.mul (f64.const 0.001) (f64.load (i32.const 24)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $step)))
    (f64.add (f64.load (i32.const 0)) (f64.load (i32.const 8)))))
