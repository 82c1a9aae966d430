;; Escape times in a grid of 24 by 24: an inner loop that depends on data, and latencies of floating point.
(module
  (func (export "run") (param $n i32) (result f64)
    (local $x i32) (local $y i32) (local $i i32) (local $sum i32)
    (local $a f64) (local $b f64) (local $ca f64) (local $cb f64) (local $t f64)
    (loop $rows
      (local.set $x (i32.const 0))
      (loop $columns
        (local.set $ca (f64.sub (f64.div (f64.convert_i32_s (local.get $x)) (f64.const 8)) (f64.const 2)))
        (local.set $cb (f64.sub (f64.div (f64.convert_i32_s (local.get $y)) (f64.const 12)) (f64.const 1)))
        (local.set $a (f64.const 0))
        (local.set $b (f64.const 0))
        (local.set $i (i32.const 0))
        (block $escaped
          (loop $iterate
            (br_if $escaped (i32.ge_s (local.get $i) (i32.mul (local.get $n) (i32.const 50))))
            (local.set $t (f64.add (f64.sub (f64.mul (local.get $a) (local.get $a))
                                            (f64.mul (local.get $b) (local.get $b))) (local.get $ca)))
            (local.set $b (f64.add (f64.mul (f64.mul (f64.const 2) (local.get $a)) (local.get $b)) (local.get $cb)))
            (local.set $a (local.get $t))
            (br_if $escaped (f64.gt (f64.add (f64.mul (local.get $a) (local.get $a))
                                             (f64.mul (local.get $b) (local.get $b))) (f64.const 4)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $iterate)))
        (local.set $sum (i32.add (local.get $sum) (local.get $i)))
        (local.set $x (i32.add (local.get $x) (i32.const 1)))
        (br_if $columns (i32.lt_s (local.get $x) (i32.const 24))))
      (local.set $y (i32.add (local.get $y) (i32.const 1)))
      (br_if $rows (i32.lt_s (local.get $y) (i32.const 24))))
    (f64.convert_i32_s (local.get $sum))))
