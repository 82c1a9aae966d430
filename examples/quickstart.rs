//! The shortest way from nothing to a loop that is optimised while it runs.

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, Function, InstBuilder, Signature, UserFuncName};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use regraft::{Config, Engine};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::new(Config::default())?;

    // fn squares(n) { sum = 0; do { sum += n * n; n -= 1 } while n != 0; sum }
    let mut signature = Signature::new(engine.isa().default_call_conv());
    signature.params.push(AbiParam::new(I64));
    signature.returns.push(AbiParam::new(I64));
    let mut func = Function::with_name_signature(UserFuncName::testcase("squares"), signature);
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let [entry, body, done] = std::array::from_fn(|_| b.create_block());
    b.append_block_params_for_function_params(entry);
    let (n, sum) = (b.declare_var(I64), b.declare_var(I64));

    b.switch_to_block(entry);
    let (argument, zero) = (b.block_params(entry)[0], b.ins().iconst(I64, 0));
    b.def_var(n, argument);
    b.def_var(sum, zero);
    b.ins().jump(body, &[]);

    b.switch_to_block(body);
    let (old_n, old_sum) = (b.use_var(n), b.use_var(sum));
    let square = b.ins().imul(old_n, old_n);
    let (new_n, new_sum) = (b.ins().iadd_imm_s(old_n, -1), b.ins().iadd(old_sum, square));
    b.def_var(n, new_n);
    b.def_var(sum, new_sum);
    b.ins().brif(new_n, body, &[], done, &[]);

    b.switch_to_block(done);
    let result = b.use_var(sum);
    b.ins().return_(&[result]);
    b.seal_all_blocks();
    b.finalize(engine.isa().frontend_config());

    let squares = engine.define_function(func)?;
    let squares = engine.get::<(u64,), u64>(squares)?;
    // SAFETY: the function touches no memory.
    let result = unsafe { squares.call((300_000_000,)) };
    println!("squares(300000000) = {result}");

    for region in &engine.report().functions["squares"].regions {
        println!("The loop at {} is {}.", region.header, region.part.state);
        println!("Tier 1 entered it {} time(s),", region.entries);
        println!("{} while it was running.", region.entries_while_running);
    }
    Ok(())
}
